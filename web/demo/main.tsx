import { createRoot } from 'react-dom/client'
import 'tokenweir-client/styles.css'
import './page.css'
import { Page } from './Page'

const place = document.getElementById('page')
if (place) createRoot(place).render(<Page />)
